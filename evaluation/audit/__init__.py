"""What is probably wrong with the train rows, and which tickets would help most if they were labelled."""
