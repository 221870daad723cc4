package author

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk/abi"
)

// ops are the operations of plugins by the names that people use.
func ops() map[string]abi.Op {
	return map[string]abi.Op{
		"hello": abi.OpHello, "get-records": abi.OpGetRecords, "put-records": abi.OpPutRecords, "stat-blobs": abi.OpStatBlobs,
		"get-blob": abi.OpGetBlob, "put-blob": abi.OpPutBlob, "plan-put": abi.OpPlanPut, "finish-put": abi.OpFinishPut,
		"credential": abi.OpCredential, "describe": abi.OpDescribe, "plan": abi.OpPlan,
	}
}

// ParseOp finds the operation of a name.
func ParseOp(name string) (abi.Op, error) {
	if op, ok := ops()[name]; ok {
		return op, nil
	}
	return 0, fmt.Errorf("there is no operation %q: use %s", name, strings.Join(slices.Sorted(maps.Keys(ops())), ", "))
}

func opName(op abi.Op) string {
	for name, o := range ops() {
		if o == op {
			return name
		}
	}
	return strconv.Itoa(int(op))
}

// hostOpName is what a plugin asks of the host, by a name that people use.
func hostOpName(op abi.HostOp) string {
	names := map[abi.HostOp]string{
		abi.HostHTTP: "http", abi.HostSign: "sign", abi.HostEnv: "env", abi.HostReadFile: "read-file", abi.HostStat: "stat", abi.HostReadDir: "read-dir",
	}
	if name := names[op]; name != "" {
		return name
	}
	return strconv.Itoa(int(op))
}
