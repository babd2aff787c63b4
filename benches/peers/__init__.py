"""This server compared with others, with the same work under the same load: see benches/README.md."""
