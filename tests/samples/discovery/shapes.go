package shapes

// Point is a point.
// It is small.
type Point[T any] struct{}

var x = 1 // not documentation
func (p *Point[T]) Move(by int) {}

type (
	A struct{}
	B interface{}
)

//go:noinline
func Free() {}
