"""What biologists ask of labels and features of single cells: pure functions of arrays and tables."""
