// Command formula judges KEDA scaling-modifier formulas with KEDA's own code.
//
// It reads one JSON object per line from stdin,
//
//	{"formula": "max(running, waiting * 10)", "triggers": {"running": 3, "waiting": null}}
//
// and writes one per line to stdout, in the same order:
//
//	{"ok": true, "value": 3, "milli": 3000}
//	{"ok": false, "stage": "compile", "error": "unknown name waitng ..."}
//
// The formula is wrapped and compiled by the function that KEDA's admission webhook and operator
// call, and run as the operator runs it; a null trigger is one that failed under
// `fallback.behavior: scalingModifiers`. "milli" is the quantity that the HorizontalPodAutoscaler
// gets; "value" is absent where the result is no finite number. A formula that is nil because of
// its triggers is reported with "ok": true and "nil": true: KEDA then uses the fallback.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"

	"github.com/expr-lang/expr"
	"github.com/kedacore/keda/v2/apis/keda/v1alpha1"
)

// longestLine bounds one request: far above any formula, far below what hurts.
const longestLine = 1 << 20

type question struct {
	Formula  string              `json:"formula"`
	Triggers map[string]*float64 `json:"triggers"`
}

type answer struct {
	OK    bool     `json:"ok"`
	Nil   bool     `json:"nil,omitempty"`
	Value *float64 `json:"value,omitempty"`
	Milli *int64   `json:"milli,omitempty"`
	Stage string   `json:"stage,omitempty"`
	Error string   `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fail("line is not a question: %v", err)
		}
		if err := answers.Encode(judge(asked)); err != nil {
			fail("cannot write: %v", err)
		}
	}
	if err := lines.Err(); err != nil {
		fail("cannot read: %v", err)
	}
}

func judge(asked question) answer {
	scaled := &v1alpha1.ScaledObject{}
	scaled.Spec.Advanced = &v1alpha1.AdvancedConfig{
		// The target does not matter here, but KEDA refuses a formula without one.
		ScalingModifiers: v1alpha1.ScalingModifiers{Formula: asked.Formula, Target: "1"},
	}
	values := make(map[string]any, len(asked.Triggers))
	for name, value := range asked.Triggers {
		trigger := v1alpha1.ScaleTriggers{Type: "prometheus", Name: name}
		scaled.Spec.Triggers = append(scaled.Spec.Triggers, trigger)
		if value == nil {
			values[name] = nil
		} else {
			values[name] = *value
		}
	}
	program, err := v1alpha1.ValidateAndCompileScalingModifiers(scaled)
	if err != nil {
		return answer{Stage: "compile", Error: err.Error()}
	}
	result, err := expr.Run(program, values)
	if err != nil {
		return answer{Stage: "run", Error: err.Error()}
	}
	if result == nil {
		return answer{OK: true, Nil: true}
	}
	number, isFloat := result.(float64)
	if !isFloat {
		return answer{Stage: "run", Error: fmt.Sprintf("formula returned non-float result %T (%v)", result, result)}
	}
	// KEDA converts exactly so, NaN and infinities included.
	milli := int64(number * 1000)
	judged := answer{OK: true, Milli: &milli}
	if !math.IsNaN(number) && !math.IsInf(number, 0) {
		judged.Value = &number
	}
	return judged
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "formula: "+format+"\n", arguments...)
	os.Exit(1)
}
