/** Places for the labels of marks on a time axis, so that none is crossed by a line or by another label. Pure. */

export interface Label {
  x: number
  width: number
}

/**
 * The row of each label, counted from the top; the labels stand to the right of their marks, whose lines reach from
 * their row down. In order of x.
 */
export function rowsOf(labels: readonly Label[]): number[] {
  const rows: number[] = []
  for (const [index, { x }] of labels.entries()) {
    const above = rows.filter((_, earlier) => {
      const label = labels[earlier]
      return earlier < index && label !== undefined && x < label.x + label.width
    })
    rows.push(Math.max(-1, ...above) + 1)
  }
  return rows
}

/** An estimate from above, in the fonts that a page asks for. */
export function textWidth(text: string, size: number): number {
  return text.length * size * 0.62
}

/** 1, 2 or 5 times a power of ten: the least such step that makes at most so many ticks. */
export function niceStep(span: number, ticks: number): number {
  const rough = span / ticks
  const power = 10 ** Math.floor(Math.log10(rough))
  return power * ([1, 2, 5].find(factor => factor * power >= rough) ?? 10)
}
