/** Labels of marks on a time axis: none overlaps another, and no line crosses one. */

import test from 'ava'
import fc from 'fast-check'
import { niceStep, rowsOf } from '../../ts/handover/report/labels.ts'

const label = fc.record({
  x: fc.double({ min: 0, max: 1000, noNaN: true }),
  width: fc.double({ min: 1, max: 300, noNaN: true }),
})

test('labels that are far apart share the first row; those that are not step down', t => {
  const at = (x: number) => ({ x, width: 80 })
  t.deepEqual(rowsOf([at(0), at(100), at(200)]), [0, 0, 0])
  t.deepEqual(rowsOf([at(0), at(1), at(2), at(300)]), [0, 1, 2, 0])
  t.deepEqual(rowsOf([at(0), at(50), at(90)]), [0, 1, 2])
})

test('no label is met by another, or by the line of a later mark', t => {
  fc.assert(
    fc.property(fc.array(label, { maxLength: 12 }), unsorted => {
      const labels = unsorted.toSorted((a, b) => a.x - b.x)
      const rows = rowsOf(labels)
      for (const [first, { x, width }] of labels.entries()) {
        for (let second = first + 1; second < labels.length; second += 1) {
          const inside = (labels[second]?.x ?? 0) < x + width
          // A line reaches from its own row down.
          if (inside && (rows[second] ?? 0) <= (rows[first] ?? 0)) return false
        }
      }
      return true
    }),
  )
  t.pass()
})

test('steps of an axis are 1, 2 or 5 times a power of ten', t => {
  t.deepEqual(
    [9, 11, 21, 49, 51, 1000].map(span => niceStep(span, 10)),
    [1, 2, 5, 5, 10, 100],
  )
})
