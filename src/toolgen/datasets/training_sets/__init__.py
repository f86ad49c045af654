"""In: the files of published training sets. Out: conversations, and from them queries, trajectories and tools."""
