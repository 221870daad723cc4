package executor

// The processes of a step are this program started anew, two for each RUN, and what its many packages prepare before main took
// them longer than all that they do. Packages are initialised in the order of their import paths, each once its imports are:
// this one before most that it does not need, so here the work is done without those.
func init() { takeOver() }
