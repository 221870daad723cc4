package service

import (
	"fmt"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// How much a plugin may say.
const (
	maxLinesPerSecond  = 200
	maxBytesPerMinute  = 1 << 20
	maxMessageAccepted = 1 << 20 // what is longer is not even looked at
)

// logger takes what a plugin says, and hands on what is fit to be shown.
type logger struct {
	report   func(level sdk.Level, text string)
	redactor *Redactor
	now      func() time.Time

	mu      sync.Mutex
	second  time.Time // when the current second began
	lines   int       // in it
	minute  time.Time
	bytes   int
	dropped int // lines and messages since the last that was shown
}

// Log shows a message, line by line.
func (l *logger) Log(level sdk.Level, text string) {
	switch level {
	case sdk.LevelDebug, sdk.LevelInfo, sdk.LevelWarning, sdk.LevelError:
	default:
		level = sdk.LevelInfo
	}
	if len(text) > maxMessageAccepted {
		l.mu.Lock()
		l.dropped++
		l.mu.Unlock()
		return
	}
	// Secrets go first: cut or cleaned, they would not be recognised.
	text = l.redactor.Redact(text)
	short := cutRunes(text, abi.MaxLog)
	lines := cleanLines(short)
	if len(short) < len(text) && len(lines) > 0 {
		lines[len(lines)-1] += fmt.Sprintf(" (%d more bytes)", len(text)-len(short))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		if l.admit(len(line)) {
			l.flush()
			l.report(level, line)
		}
	}
}

// admit counts a line, and says whether it may be shown.
func (l *logger) admit(size int) bool {
	now := l.now()
	if now.Sub(l.second) >= time.Second {
		l.second, l.lines = now, 0
	}
	if now.Sub(l.minute) >= time.Minute {
		l.minute, l.bytes = now, 0
	}
	if l.lines >= maxLinesPerSecond || l.bytes+size > maxBytesPerMinute {
		l.dropped++
		return false
	}
	l.lines++
	l.bytes += size
	return true
}

// flush tells once of what was dropped since something was shown.
func (l *logger) flush() {
	if l.dropped > 0 {
		l.report(sdk.LevelWarning, fmt.Sprintf("%d more messages dropped: a plugin may log %d lines a second and %d KiB a minute",
			l.dropped, maxLinesPerSecond, maxBytesPerMinute>>10))
		l.dropped = 0
	}
}

func (l *logger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}
