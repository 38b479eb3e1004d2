//! The LLM router: one door to every model.
