"""What is made of a result: tables for a terminal and files for a paper."""
