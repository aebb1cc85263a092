/** The judge of the gate's tests finds what is wrong. */

import test from 'ava'
import { faults, type Observation } from './windows.ts'

/** A frame a second, the VM stopped from 10 s to 20 s, which was known a second later each time. */
const OBSERVED: Observation = {
  stamps: Array.from({ length: 30 }, (_, number) => ({
    number,
    before: BigInt(number) * 1_000n + 100n,
    after: BigInt(number) * 1_000n + 200n,
  })),
  passed: new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]),
  changes: [
    { running: false, atNs: 10_000n },
    { running: true, atNs: 20_000n },
  ],
  movedNs: [11_000n, 21_000n],
  openWhileRunning: true,
  preRollNs: 2_000n,
  forwardedLate: 1,
}

function passing(change: (passed: Set<number>) => void): ReadonlySet<number> {
  const passed = new Set(OBSERVED.passed)
  change(passed)
  return passed
}

test('what should pass has passed, and one frame slipped through before the end was known', t => {
  t.deepEqual(faults(OBSERVED), [])
})

test('a missed frame, a stale one and a wrong count are found', t => {
  const missed = passing(passed => passed.delete(20))
  t.deepEqual(faults({ ...OBSERVED, passed: missed }), ['20 was missed'])
  const stale = passing(passed => passed.add(15))
  t.deepEqual(faults({ ...OBSERVED, passed: stale, forwardedLate: 2 }), ['15 passed 5100 ns after the end'])
  t.deepEqual(faults({ ...OBSERVED, forwardedLate: 0 }), ['0 counted as late, not 1 to 1'])
  t.deepEqual(faults({ ...OBSERVED, movedNs: [] }), ['2 changes, 0 moves'])
})

test('frames that came longer before the news than the pre-roll may be missed', t => {
  const missed = passing(passed => passed.delete(20))
  t.deepEqual(faults({ ...OBSERVED, passed: missed, preRollNs: 500n }), [])
})

test('a frame on the edge may pass or not', t => {
  const changes = OBSERVED.changes.map(({ running, atNs }) => ({ running, atNs: atNs + 150n }))
  for (const forwardedLate of [0, 1]) t.deepEqual(faults({ ...OBSERVED, changes, forwardedLate }), [])
  const missed = passing(passed => passed.delete(20))
  t.deepEqual(faults({ ...OBSERVED, changes, passed: missed }), [])
})
