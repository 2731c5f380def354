"""What a cell is: frozen specifications and their names."""
