//! The Arc that wakes Sentinels and lets them act.
