"""Records of the store -> tables of a study."""
