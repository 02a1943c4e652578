"""Commands, one module each: `diracdiff train …`."""
