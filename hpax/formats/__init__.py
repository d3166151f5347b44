"""What goes in and out: fields of view from disk. Files from strangers are hostile until read."""
