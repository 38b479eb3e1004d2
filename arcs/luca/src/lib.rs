//! luca-shell and luca-run: the command line of llmbasedos.
