"""The page of `samclr explore`, served on this machine: scenes, regions, the filter and views, live."""
