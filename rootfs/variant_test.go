package rootfs

import "testing"

func TestFindVariant(t *testing.T) {
	for name, want := range map[string]string{
		"essential": "essential", "apt": "apt", "required": "required", "minbase": "required", "buildd": "buildd",
		"important": "important", "debootstrap": "important", "-": "important", "standard": "standard",
	} {
		v, err := findVariant(name)
		if err != nil || v.name != want {
			t.Errorf("%s: %q, %v", name, v.name, err)
		}
	}
	_, err := findVariant("huge")
	want := `variant "huge" is not one of extract, custom, essential, apt, required, minbase, buildd, important, debootstrap, -, standard`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
