"""Fields to nuclei and cells: index masks, their centres, crops around them. No neural network."""
