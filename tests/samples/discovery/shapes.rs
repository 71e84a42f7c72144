/// A point.
/// In space.
#[derive(Debug)]
pub struct Point;

impl Point {
    /// Makes one.
    #[inline]
    pub fn new() -> Self { Point }
}

impl Clone for Point {
    fn clone(&self) -> Self { Point }
}

mod inner {
    pub fn free() { fn nested() {} }
}

trait Draw {
    fn draw(&self);
}
