package main

import (
	"strings"
	"testing"
)

func TestTheDriverFitsTheFramework(t *testing.T) {
	checked, problems, err := Check(t.Context(), "../../driver/vz")
	if err != nil || checked != 1 || len(problems) > 0 {
		t.Errorf("checked %d packages: %q, %v", checked, problems, err)
	}
}

func TestMisuseIsCaught(t *testing.T) {
	_, problems, err := Check(t.Context(), "./testdata/misuse")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(problems, "\n")
	for _, want := range []string{"cannot use \"2\"", "SetNoSuchDevices", "SaveMachineStateToPath undefined"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not among the problems:\n%s", want, all)
		}
	}
}

func TestNothingToCheckIsAnError(t *testing.T) {
	if _, _, err := Check(t.Context(), "./nosuch"); err == nil {
		t.Error("checked what is not there")
	}
}
