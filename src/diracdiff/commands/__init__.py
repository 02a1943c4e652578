"""The commands, one module each: `diracdiff train …`."""
