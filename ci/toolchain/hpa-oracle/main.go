// Command hpa-oracle runs the HorizontalPodAutoscaler controller of Kubernetes over given traces.
//
// It reads one trace per line from stdin,
//
//	{"minReplicas": 1, "maxReplicas": 10, "behavior": {...}, "replicas": 1,
//	 "metrics": [{"targetMilli": 25000, "average": true}],
//	 "ticks": [{"milliseconds": 15000, "values": [60000]},
//	           {"milliseconds": 30000, "values": [null], "replicas": 4, "statusReplicas": 5, "readyPods": 3}]}
//
// and writes one answer per line to stdout, in the same order:
//
//	{"ticks": [{"replicas": 3, "proposal": 3, "ableToScale": "SucceededRescale", ...}, ...]}
//	{"error": "tick 1 comes 2000 ms after the one before ..."}
//
// A tick is one pass of the controller, at that many milliseconds after its start. "values" are what
// the External metrics measure, in thousandths, null where reading fails. The replica count follows
// the controller's own writes; "replicas" overrides it before the pass, as KEDA or a person would.
// "statusReplicas" are the pods that exist (default: the replica count), "readyPods" those of them
// that are ready (default: all). In the answer, "replicas" is the count after the pass and "proposal"
// what the controller logs as proposed by the metrics, absent where it got no proposal; the rest are
// the reasons of the conditions of that name.
//
// Nothing of the controller is replaced but its clients and its clock: testing/synctest gives every
// trace a virtual one, so an hour takes milliseconds and is the same each time.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// longestLine bounds one trace: some hundred thousand ticks.
const longestLine = 64 << 20

func main() {
	answers := os.Stdout
	// What package testing says of itself must not mix with the answers.
	os.Stdout = os.Stderr
	// Failed reads are part of the traces; the default handlers also sleep, by a clock of their own.
	utilruntime.ErrorHandlers = nil
	// synctest hands its clock only to tests, so this program is one test that has no go test around it.
	testing.Main(
		func(_, _ string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "hpa-oracle", F: func(t *testing.T) {
			if err := answerAll(t, os.Stdin, answers); err != nil {
				t.Fatal(err)
			}
		}}},
		nil,
		nil,
	)
}

func answerAll(t *testing.T, questions io.Reader, answers io.Writer) error {
	lines := bufio.NewScanner(questions)
	lines.Buffer(nil, longestLine)
	out := bufio.NewWriter(answers)
	encoder := json.NewEncoder(out)
	for lines.Scan() {
		if err := encoder.Encode(answerOne(t, lines.Bytes())); err != nil {
			return err
		}
		// One line for one line: who asks in turn must not wait for a full buffer.
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func answerOne(t *testing.T, line []byte) answer {
	var asked trace
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{Error: fmt.Sprintf("not a trace: %v", err)}
	}
	var result answer
	synctest.Test(t, func(t *testing.T) {
		outcomes, err := run(t.Context(), &asked)
		result.Ticks = outcomes
		if err != nil {
			result = answer{Error: err.Error()}
		}
	})
	return result
}
