package shapes;

/**
 * A class.
 * With text.
 */
@Deprecated
public class Shapes {
    /** Makes one. */
    Shapes() {}
    int area() { return 1; }
    int area(int scale) { return scale; }
    enum Kind { A; void show() {} }
}

record Pair(int a, int b) { Pair {} }
