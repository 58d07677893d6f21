"""What commands print: one module per format."""
