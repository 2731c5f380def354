"""Attacks, one family a room; the files of a family are its attacks, helpers stand one level down."""
