"""The server beside its peers, the same work under the same load: see benches/README.md."""
