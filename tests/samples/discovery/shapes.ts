/** Adds.
 * Twice. */
export function add(a: number): number { return a; }

// not documentation
export const arrow = (x: number) => x;
const one = 1, two = function () {};

export default class Shape<T> {
  /** Runs. */
  @log()
  run(): void {}
  field = () => 1;
}

namespace Space {
  export function inner() {}
}
interface Face { call(): void }
