"""Pictures of cells and features, and the one page that holds them."""
