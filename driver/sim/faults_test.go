package sim

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

func TestFaultsRunTheirCourse(t *testing.T) {
	f, err := ParseFaults("Prepare=1*off->2*error(no (more) space->here; really)->transient(busy);Trim=1*panic(oops)")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 5 {
		if err := f.meet(t.Context(), "Prepare"); err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, "")
		}
	}
	want := []string{"", "no (more) space->here; really", "no (more) space->here; really", "busy: transient", "busy: transient"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := f.meet(t.Context(), "Prepare"); !errors.Is(err, driver.ErrTransient) {
		t.Errorf("transient: %v", err)
	}
	if err := f.meet(t.Context(), "Trim"); !errors.Is(err, errDie) {
		t.Errorf("panic: %v", err)
	}
	if err := f.meet(t.Context(), "Trim"); err != nil {
		t.Errorf("after the chain: %v", err)
	}
	var none *Faults
	if err := none.meet(t.Context(), "Trim"); err != nil {
		t.Errorf("no faults: %v", err)
	}
}

func TestFaultsTakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := ParseFaults("Exec=delay(90s); Clean=hang")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := f.meet(t.Context(), "Exec"); err != nil || time.Since(begin) != 90*time.Second {
			t.Errorf("delay: %v after %s", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := f.meet(ctx, "Clean"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hang: %v", err)
		}
	})
}

func TestFaultsRefused(t *testing.T) {
	for _, text := range []string{
		"Prepare", "Nothing=off", "Prepare=explode", "Prepare=0*off", "Prepare=x*off", "Prepare=delay(soon)",
		"Prepare=delay", "Prepare=error(x", "Prepare=off(x)", "Prepare=off->", strings.Repeat("x", maxFault+1),
	} {
		if _, err := ParseFaults(text); err == nil {
			t.Errorf("%.40q was taken", text)
		}
	}
	if f, err := ParseFaults(""); err != nil || f == nil {
		t.Errorf("nothing: %v, %v", f, err)
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("Prepare=1*off->1*error(x);Start=delay(100ms)")
	f.Add("Clean=hang; Exec=panic(a(b)c)")
	f.Add("Trim=2*transient()->off")
	f.Fuzz(func(t *testing.T, text string) {
		faults, err := ParseFaults(text)
		if (err == nil) != (faults != nil) {
			t.Fatalf("faults %v with error %v", faults, err)
		}
		if err != nil {
			return
		}
		for op, terms := range faults.terms {
			for _, term := range terms {
				if term.hits < 0 || term.wait < 0 {
					t.Errorf("%s: %+v", op, term)
				}
			}
		}
	})
}
