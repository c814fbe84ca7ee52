"""`navit-edge demo`: a small trained bundle, pictures of many sizes, and the packs as a picture."""
