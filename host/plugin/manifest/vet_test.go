package manifest

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
)

// small is a module of one section.
func small(id byte, body string) []byte {
	b := append([]byte("\x00asm\x01\x00\x00\x00"), id)
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}

// TestVet passes what is ordinary and refuses what costs more memory than it is worth.
func TestVet(t *testing.T) {
	t.Parallel()
	for name, program := range map[string][]byte{"module": module(), "rich": rich()} {
		if err := Vet(program); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
		defer runtime.Close(t.Context())
		if _, err := runtime.CompileModule(t.Context(), program); err != nil {
			t.Errorf("%s: the fixture is no module: %v", name, err)
		}
	}
	const huge = "\xff\xff\xff\xff\x0f"
	for name, tt := range map[string]struct {
		program []byte
		want    string
	}{
		"data segments":  {small(sectionData, huge), "4294967295 data segments"},
		"data":           {small(sectionData, "\x01\x01"+huge), "ends too soon"},
		"data count":     {small(sectionDataCount, huge), "4294967295 data segments"},
		"functions":      {small(sectionFunc, huge), "4294967295 functions"},
		"few bytes":      {small(sectionFunc, "\xff\x7f\x00"), "ends too soon"},
		"imports":        {small(sectionImport, huge), "4294967295 imports"},
		"import's name":  {small(sectionImport, "\x01"+huge+"abc"), "ends too soon"},
		"exports":        {small(sectionExport, huge), "4294967295 exports"},
		"types":          {small(sectionType, huge), "4294967295 types"},
		"parameters":     {small(sectionType, "\x01\x60"+huge+"\x00"), "4294967295 parameters"},
		"tables":         {small(sectionTable, huge), "4294967295 tables"},
		"a large table":  {small(sectionTable, "\x01\x70\x00"+huge), "4294967295 elements"},
		"segments":       {small(sectionElement, huge), "4294967295 element segments"},
		"elements":       {small(sectionElement, "\x01\x01\x00"+huge), "4294967295 elements"},
		"expressions":    {small(sectionElement, "\x01\x05\x70"+huge), "4294967295 elements"},
		"globals":        {small(sectionGlobal, huge), "4294967295 globals"},
		"locals":         {small(sectionCode, "\x01\x08\x01"+huge+"\x7f\x0b"), "4294967295 locals in a function"},
		"code":           {small(sectionCode, huge), "4294967295 functions"},
		"function names": {append(small(sectionFunc, "\x00"), custom("name", "\x01\x05"+huge)...), "4294967295 names"},
		"local names":    {append(small(sectionFunc, "\x00"), custom("name", "\x02\x07\x01\x00"+huge)...), "4294967295 names"},
		"a long name":    {append(small(sectionFunc, "\x00"), custom("name", "\x00\x05"+huge)...), "ends too soon"},
		"no section":     {small(40, ""), "no meaning"},
		"more than said": {small(sectionFunc, "\x00\x00"), "longer than"},
		"size":           {make([]byte, MaxModule+1), "may have 33554432"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := Vet(tt.program); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Vet = %v, want %q in it", err, tt.want)
			}
		})
	}
}

// TestVetAddsUp counts over the whole module, not only each piece by itself.
func TestVetAddsUp(t *testing.T) {
	t.Parallel()
	const functions = 200
	code := string(binary.AppendUvarint(nil, functions)) + strings.Repeat("\x06\x01\xd0\x86\x03\x7f\x0b", functions) // 50,000 locals each
	if err := Vet(small(sectionCode, code)); err == nil || !strings.Contains(err.Error(), "locals in all functions") {
		t.Errorf("Vet = %v", err)
	}
}
