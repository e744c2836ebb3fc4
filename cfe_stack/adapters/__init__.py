"""From heterogeneous learners, boosters and files to the ensemble matrix."""
