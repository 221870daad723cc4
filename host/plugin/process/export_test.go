package process

// ForbidMemory makes the program of a plugin that did not start yet one that cannot be executed in memory.
func (p *Plugin) ForbidMemory() error {
	if err := p.load(); err != nil {
		return err
	}
	return p.program.file.Chmod(0o600)
}

// InDirectory says whether the program runs from a directory.
func (p *Plugin) InDirectory() bool { return p.program.dir != "" }
