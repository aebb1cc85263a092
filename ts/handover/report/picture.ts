/**
 * The timeline of one netdev as SVG: both hosts on one axis, source above destination.
 *
 * Every row has the same scale. A column that is far higher than the others is cut off, and carries its number: one
 * burst of parked frames would else make all the rest invisible.
 */

import { formatCount } from '../../output/format.ts'
import { type Axis, inWords, relative } from './axis.ts'
import { html, type Markup, NOTHING } from './html.ts'
import { niceStep, rowsOf, textWidth } from './labels.ts'
import type { NetdevPair, Pair } from './pair.ts'
import type { EnteredState, Side } from './shape.ts'
import { type Column, columnMs, columnsOf, type Mark, marksOf, resumedAt, type Span, spanOf } from './span.ts'

/** Where things are, in units of the drawing. */
interface Layout {
  width: number
  /** Of the names of the rows; 0: they stand above them. */
  gutter: number
  /** Whether columns tell their numbers when they are pointed at. */
  hints: boolean
}

/** Beside each other on a screen and on paper; one on a phone. */
export const WIDE: Layout = { width: 1072, gutter: 92, hints: true }
export const NARROW: Layout = { width: 552, gutter: 0, hints: false }

const FONT = 12.5
const LABEL_ROW = 17
const BAND = 22
const STRIP = 18
const ROW = 48
/** Above a row, for the numbers of columns that are cut off. */
const HEADROOM = 15
/** On the right, for the numbers of the scale. */
const MARGIN = 34

interface Row {
  side: Side
  name: string
  /** From the axis upward. */
  parts: readonly (keyof Column)[]
}

const ROWS: readonly Row[] = [
  { side: 'source', name: 'captured', parts: ['captured'] },
  { side: 'source', name: 'sent', parts: ['sent'] },
  { side: 'destination', name: 'came', parts: ['came'] },
  { side: 'destination', name: 'to the guest', parts: ['injected', 'direct', 'deduplicated'] },
]

export interface Drawn {
  svg: Markup
  /** Milliseconds that a column stands for. */
  columnMs: number
  /** What is in it. */
  shown: ReadonlySet<keyof Column>
  /** Whether some columns are cut off. */
  torn: boolean
}

/** undefined: there is nothing to see, because the VM never stopped. */
export function picture(pair: Pair, netdev: NetdevPair, axis: Axis, layout: Layout): Drawn | undefined {
  const marks = marksOf(netdev, axis)
  const tight = spanOf(netdev, axis, marks)
  return tight && new Picture(pair, netdev, axis, layout, marks, tight).draw()
}

/** Marks that are too far away for the picture, in words. */
export function beyond(netdev: NetdevPair, axis: Axis): string[] {
  const marks = marksOf(netdev, axis)
  const span = spanOf(netdev, axis, marks)
  return span
    ? marks.filter(({ at }) => at > span.to).map(({ name, at }) => `${name} at ${relative(at)}`)
    : []
}

class Picture {
  readonly #pair: Pair
  readonly #netdev: NetdevPair
  readonly #axis: Axis
  readonly #layout: Layout
  readonly #span: Span
  readonly #marks: readonly Mark[]
  readonly #columnMs: number
  readonly #columns: Map<number, Column>
  /** Frames that fill a row. */
  readonly #top: number
  readonly #shown = new Set<keyof Column>()
  #torn = false
  /** What is read: above all that is drawn. */
  readonly #texts: Markup[] = []

  constructor(
    pair: Pair,
    netdev: NetdevPair,
    axis: Axis,
    layout: Layout,
    marks: readonly Mark[],
    tight: Span,
  ) {
    this.#pair = pair
    this.#netdev = netdev
    this.#axis = axis
    this.#layout = layout
    this.#marks = marks.filter(({ at }) => at <= tight.to)
    this.#span = withRoomForLabels(tight, this.#marks, this.#plotWidth)
    this.#columnMs = columnMs(netdev, this.#span, this.#plotWidth / 3)
    this.#columns = columnsOf(netdev, axis, this.#span, this.#columnMs)
    this.#top = topOf(this.#rows, [...this.#columns.values()])
  }

  get #rows(): Row[] {
    return ROWS.filter(({ side }) => this.#netdev[side] !== undefined)
  }

  get #plotWidth(): number {
    return this.#layout.width - this.#layout.gutter - MARGIN
  }

  draw(): Drawn {
    const labels = this.#marks.map(mark => ({ x: this.#x(mark.at), width: labelWidth(mark) }))
    const labelRows = rowsOf(labels)
    const labelsEnd = (Math.max(-1, ...labelRows) + 1) * LABEL_ROW + 4
    let y = labelsEnd + BAND
    const rows: Markup[] = []
    for (const side of ['source', 'destination'] as const) {
      const ofSide = this.#rows.filter(row => row.side === side)
      if (ofSide.length === 0) continue
      y += 8
      rows.push(...this.#host(side, y))
      y += this.#layout.gutter > 0 ? STRIP : STRIP + 18
      for (const row of ofSide) {
        y += this.#layout.gutter > 0 ? 0 : 5
        rows.push(...this.#row(row, y))
        y += HEADROOM + ROW
      }
      y += 8
    }
    const bottom = y - 8
    const parts = [
      ...this.#downtime(labelsEnd, bottom),
      ...this.#ticks(bottom),
      ...rows,
      ...this.#marks.map((mark, index) => this.#mark(mark, (labelRows[index] ?? 0) * LABEL_ROW, bottom)),
      ...this.#texts,
      ...(this.#layout.hints ? this.#hints(labelsEnd + BAND, bottom) : []),
    ]
    const { width } = this.#layout
    const height = Math.ceil(bottom + 24)
    const svg = html`<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${this.#inWords()}">${parts}</svg>`
    return { svg, columnMs: this.#columnMs, shown: this.#shown, torn: this.#torn }
  }

  #x(at: number): number {
    const { from, to } = this.#span
    return round(this.#layout.gutter + ((at - from) / (to - from)) * this.#plotWidth)
  }

  /** For those who cannot see it. */
  #inWords(): string {
    const marks = this.#marks.map(({ name, at }) => `${name} at ${relative(at)}`)
    return `Frames of ${this.#netdev.name} over time, on both hosts: ${marks.join(', ')}`
  }

  #downtime(top: number, bottom: number): Markup[] {
    const resumed = resumedAt(this.#netdev, this.#axis)
    if (resumed === undefined || resumed <= 0) return []
    const [from, to] = [this.#x(0), this.#x(Math.min(resumed, this.#span.to))]
    this.#texts.push(...this.#downtimeText(inWords(resumed), from, to, top + 15))
    return [
      html`<rect class="down" x="${from}" y="${top}" width="${round(to - from)}" height="${round(bottom - top)}"/>`,
    ]
  }

  /** In its place if it fits there, else in short, else behind it. */
  #downtimeText(time: string, from: number, to: number, y: number): Markup[] {
    const fitting = [`VM stopped for ${time}`, time].find(text => textWidth(text, FONT) + 12 < to - from)
    const [text, x, anchor] =
      fitting === undefined
        ? [`VM stopped for ${time}`, to + 6, 'start']
        : [fitting, round((from + to) / 2), 'middle']
    return [html`<text class="downtime" x="${x}" y="${y}" text-anchor="${anchor}">${text}</text>`]
  }

  #ticks(bottom: number): Markup[] {
    const { from, to } = this.#span
    const step = niceStep(to - from, this.#plotWidth / 90)
    const ticks: Markup[] = []
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      const x = this.#x(at)
      const text = Math.abs(at) < step / 2 ? '0' : relative(Math.round(at))
      ticks.push(
        html`<line class="tick" x1="${x}" y1="${bottom}" x2="${x}" y2="${bottom + 4}"/>`,
        html`<text class="axis" x="${x}" y="${bottom + 17}" text-anchor="middle">${text}</text>`,
      )
    }
    return ticks
  }

  /** The host's name, and its states as a strip. */
  #host(side: Side, y: number): Markup[] {
    const { gutter, width } = this.#layout
    const report = this.#pair[side]
    const title = side === 'source' ? 'Source' : 'Destination'
    const stripY = gutter > 0 ? y : y + 18
    this.#texts.push(
      html`<text class="host" x="0" y="${y + 13}">${title}${
        gutter > 0 ? NOTHING : html`<tspan class="axis" dx="8">${report?.host ?? ''}</tspan>`
      }</text>`,
    )
    const states = this.#netdev[side]?.states ?? []
    const right = width - MARGIN
    return states.map(({ state, time_ns }, index) => {
      const begin = Math.max(gutter, this.#x(this.#axis.of(side, time_ns)))
      const next: EnteredState | undefined = states[index + 1]
      const end = next ? Math.min(right, this.#x(this.#axis.of(side, next.time_ns))) : right
      if (end - begin < 0.5) return NOTHING
      if (textWidth(state, 11.5) + 10 < end - begin) {
        this.#texts.push(
          html`<text class="state s${index % 2}" x="${round(begin + 5)}" y="${stripY + 12}">${state}</text>`,
        )
      }
      return html`<rect class="state s${index % 2}" x="${round(begin)}" y="${stripY}" width="${round(end - begin)}" height="${STRIP - 2}"><title>${state}</title></rect>`
    })
  }

  #row({ name, parts }: Row, top: number): Markup[] {
    const { gutter, width } = this.#layout
    const base = top + HEADROOM + ROW
    const right = width - MARGIN
    const grid = niceStep(this.#top, 2)
    const gridY = round(base - (grid / this.#top) * ROW)
    const drawn: Markup[] = [
      html`<line class="grid" x1="${gutter}" y1="${gridY}" x2="${right}" y2="${gridY}"/>`,
      html`<text class="axis" x="${right + 5}" y="${gridY + 4}">${formatCount(grid)}</text>`,
      html`<line class="base" x1="${gutter}" y1="${base}" x2="${right}" y2="${base}"/>`,
    ]
    const nameY = gutter > 0 ? base - 4 : top + 11
    this.#texts.push(html`<text class="row" x="0" y="${nameY}">${name}</text>`)
    const bars = new Map<keyof Column, string>()
    const cut: { x: number; frames: number }[] = []
    for (const [place, column] of this.#columns) {
      const x = this.#x(this.#span.from + place * this.#columnMs)
      const barWidth = Math.max(
        0.8,
        (this.#columnMs / (this.#span.to - this.#span.from)) * this.#plotWidth - 0.6,
      )
      const frames = parts.reduce((sum, part) => sum + column[part], 0)
      let from = 0
      for (const part of parts) {
        if (column[part] === 0) continue
        // What is cut off keeps its shares.
        const scale = Math.min(1, this.#top / frames)
        const height = Math.max(1, (column[part] * scale * ROW) / this.#top)
        const path = `M${x} ${round(base - from)}v${round(-height)}h${round(barWidth)}v${round(height)}z`
        this.#shown.add(part)
        bars.set(part, (bars.get(part) ?? '') + path)
        from += height
      }
      if (frames > this.#top) cut.push({ x: x + barWidth / 2, frames })
    }
    for (const part of parts) {
      const path = bars.get(part)
      if (path !== undefined) drawn.push(html`<path class="${part}" d="${path}"/>`)
    }
    const nameEnd = gutter > 0 ? 0 : textWidth(name, FONT)
    return [...drawn, ...this.#numbers(cut, top, base, nameEnd)]
  }

  /** Of the columns that are cut off, the highest first, as far as there is room to the right of `left`. */
  #numbers(cut: readonly { x: number; frames: number }[], top: number, base: number, left: number): Markup[] {
    const taken: [from: number, to: number][] = []
    const edges: Markup[] = []
    for (const { x, frames } of [...cut].sort((a, b) => b.frames - a.frames)) {
      this.#torn = true
      edges.push(html`<path class="torn" d="M${round(x - 4)} ${base - ROW + 7}l3 -3l2 3l3 -3"/>`)
      const text = formatCount(frames)
      const half = textWidth(text, FONT) / 2
      const middle = Math.max(x, left + half)
      if (taken.some(([from, to]) => middle + half > from && middle - half < to)) continue
      taken.push([middle - half - 4, middle + half + 4])
      this.#texts.push(
        html`<text class="number" x="${round(middle)}" y="${top + 12}" text-anchor="middle">${text}</text>`,
      )
    }
    return edges
  }

  #mark({ name, at, kind }: Mark, y: number, bottom: number): Markup {
    const x = this.#x(at)
    const time = at === 0 ? '' : ` ${relative(at)}`
    return html`<line class="mark ${kind}" x1="${x}" y1="${y + 2}" x2="${x}" y2="${bottom}"/><text class="mark" x="${round(x + 4)}" y="${y + 13}"><tspan class="what">${name}</tspan>${time}</text>`
  }

  /** What a column says when it is pointed at. */
  #hints(top: number, bottom: number): Markup[] {
    const width = (this.#columnMs / (this.#span.to - this.#span.from)) * this.#plotWidth
    const names = this.#rows.flatMap(({ parts }) => parts)
    return [...this.#columns].map(([place, column]) => {
      const at = this.#span.from + place * this.#columnMs
      const counts = names
        .filter(name => column[name] > 0)
        .map(name => `${name} ${formatCount(column[name])}`)
      const text = `${relative(at)}, ${inWords(this.#columnMs)}: ${counts.join(', ')}`
      return html`<rect class="hint" x="${this.#x(at)}" y="${top}" width="${round(width)}" height="${round(bottom - top)}"><title>${text}</title></rect>`
    })
  }
}

function labelWidth({ name, at }: Mark): number {
  return textWidth(`${name} ${relative(at)}`, FONT) + 8
}

/** Labels stand to the right of their marks: the span ends where the last one does, at the earliest. */
function withRoomForLabels({ from, to }: Span, marks: readonly Mark[], plot: number): Span {
  const needed = marks.map(mark => {
    return from + ((mark.at - from) * plot) / Math.max(plot / 4, plot - labelWidth(mark))
  })
  return { from, to: Math.max(to, ...needed) }
}

/** Half as much again as most columns hold, where some hold far more; else what the highest holds. */
function topOf(rows: readonly Row[], columns: readonly Column[]): number {
  const heights = rows
    .flatMap(({ parts }) => columns.map(column => parts.reduce((sum, part) => sum + column[part], 0)))
    .filter(height => height > 0)
    .sort((a, b) => a - b)
  const most = heights.at(-1) ?? 1
  const usual = heights[Math.floor(heights.length * 0.8)] ?? 1
  const top = most <= usual * 2 ? most : usual * 1.5
  return Math.max(4, top * 1.05)
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
