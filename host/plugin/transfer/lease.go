package transfer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// lease is the plan of a download, which is replaced when it has expired or is refused. A plan that replaced another and
// never worked is not replaced again: asking on and on would be a loop.
type lease struct {
	replan Replan
	check  func(sdk.Transfer) error

	mu sync.Mutex

	plan   sdk.Transfer
	number int  // of the plan, counted from 0
	worked bool // a request of the plan succeeded
}

// current returns the plan and its number.
func (l *lease) current(ctx context.Context) (sdk.Transfer, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if expired(l.plan) && l.renewable() {
		if err := l.replace(ctx); err != nil {
			return sdk.Transfer{}, 0, err
		}
	}
	return l.plan, l.number, nil
}

// renew replaces the plan of that number because it was refused, unless somebody did so already. It returns the refusal if
// another plan would not help.
func (l *lease) renew(ctx context.Context, number int, refusal error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.number != number {
		return nil
	}
	if !l.renewable() {
		return refusal
	}
	if err := l.replace(ctx); err != nil {
		return fmt.Errorf("%w; %w", refusal, err)
	}
	return nil
}

// success notes that a request of the plan of that number succeeded.
func (l *lease) success(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.worked = l.worked || l.number == number
}

func (l *lease) renewable() bool { return l.replan != nil && (l.number == 0 || l.worked) }

func (l *lease) replace(ctx context.Context) error {
	plan, err := l.replan(ctx)
	if err == nil {
		err = l.check(plan)
	}
	if err != nil {
		return fmt.Errorf("plan again: %w", err)
	}
	l.plan, l.number, l.worked = plan, l.number+1, false
	return nil
}

func expired(plan sdk.Transfer) bool {
	return !plan.Expires.IsZero() && !time.Now().Before(plan.Expires)
}
