/** Rows under headings, for people. Pure. */

import type { ChalkInstance } from 'chalk'

/** Lines with a margin; a column that says the same nothing (`-`) in every row is left out. */
export function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  colors: ChalkInstance,
): string[] {
  const shown = headings.map((_, column) => column).filter(column => rows.some(row => row[column] !== '-'))
  const widths = shown.map(column =>
    Math.max(...[headings, ...rows].map(cells => (cells[column] ?? '').length)),
  )
  const line = (cells: readonly string[]): string =>
    `  ${shown.map((column, index) => (cells[column] ?? '').padEnd(widths[index] ?? 0)).join('  ')}`.trimEnd()
  return [colors.dim(line(headings)), ...rows.map(line)]
}
