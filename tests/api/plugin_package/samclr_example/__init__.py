"""What another package adds to samclr: each thing is a spec that imports no torch, and the file that it names."""
