/** What the testbed's readers and guests answer: crates/testbed/src/tally.rs. */

/** The numbered frames of one series. */
export interface Flow {
  readonly count: number
  /** The numbers read, as inclusive ranges. */
  readonly ranges: readonly (readonly [first: number, last: number])[]
  readonly duplicates: number
  readonly outOfOrder: number
  readonly damaged: number
}
