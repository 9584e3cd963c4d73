"""Other ways to learn a codebook, to compare Kohonen's map with."""
