/** A handover as a page: one file without scripts, and without anything from elsewhere. */

import { formatCount, formatFrames } from '../../output/format.ts'
import { type Axis, axisOf, inWords, relative } from './axis.ts'
import { DESTINATION_COUNTERS, LOST, SOURCE_COUNTERS, STATES } from './counters.ts'
import { cutInWords } from './cut.ts'
import { html, Markup, NOTHING } from './html.ts'
import { framesLost, lossesOf } from './losses.ts'
import { notesOf } from './notes.ts'
import type { NetdevPair, Pair } from './pair.ts'
import { beyond, NARROW, picture, WIDE } from './picture.ts'
import type { HandoverReport, Side } from './shape.ts'
import type { Column } from './span.ts'
import { STYLE } from './style.ts'
import { carriedIn, downtimeOf, lostIn, verdictOf, worstOf } from './verdict.ts'

/** `version`: of the tapferry that makes it. */
export function pageOf(pair: Pair, version: string): string {
  const axes = new Map(pair.netdevs.map(netdev => [netdev, axisOf(netdev)]))
  const { tone, headline, more } = verdictOf(pair)
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${vmName(pair)}: ${headline}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<p class="facts">${facts(pair)}</p>
<header class="verdict ${tone}"><h1>${headline}</h1>${more === undefined ? NOTHING : html`<p>${more}</p>`}</header>
${figures(pair)}
${losses(pair)}
${notes(pair, axes)}
${pair.netdevs.map(netdev => netdevSection(pair, netdev, axes.get(netdev) ?? axisOf(netdev)))}
<footer>${written(pair, version)}</footer>
</body>
</html>
`
  return page.text
}

function eitherOf(pair: Pair): HandoverReport[] {
  return [pair.source, pair.destination].filter(report => report !== undefined)
}

function vmName(pair: Pair): string {
  const vms = eitherOf(pair).map(({ vm }) => vm)
  return vms.find(({ name }) => name !== null)?.name ?? vms.find(({ uuid }) => uuid !== null)?.uuid ?? 'a VM'
}

/** Which VM, from where to where, and when: what tells one ticket from another. */
function facts(pair: Pair): Markup {
  const uuid = eitherOf(pair).find(({ vm }) => vm.uuid !== null)?.vm.uuid
  const host = (report: HandoverReport | undefined) => report?.host ?? 'a host that did not report'
  const stop = stopped(pair)
  const parts = [
    html`Live migration of <b>${vmName(pair)}</b>`,
    ...(uuid ? [html`<code>${uuid}</code>`] : []),
    html`${host(pair.source)} → ${host(pair.destination)}`,
    ...(stop === undefined ? [] : [html`stopped at ${stop}`]),
  ]
  return html`${parts.map(part => html`<span>${part}</span>\n`)}`
}

/** The moment of the stop in UTC. */
function stopped({ netdevs }: Pair): string | undefined {
  const moment = netdevs.flatMap(
    ({ source, destination }) => source?.stopped_ns ?? destination?.stopped_ns ?? [],
  )[0]
  const date = moment === undefined ? undefined : new Date(Number(BigInt(moment) / 1_000_000n))
  if (date === undefined || Number.isNaN(date.getTime())) return undefined
  return `${date.toISOString().replace('T', ' ').replace('Z', '')} UTC`
}

interface Figure {
  name: string
  value: string
  about: string
  lost?: boolean
}

function figures(pair: Pair): Markup {
  const all = worstOf(pair.netdevs) === 'stopped' ? [] : figuresOf(pair)
  if (all.length === 0) return NOTHING
  const boxes = all.map(({ name, value, about, lost }) => {
    return html`<div><dt>${name}</dt><dd${lost ? html` class="lost"` : NOTHING}>${value}</dd><dd>${about}</dd></div>\n`
  })
  return html`<dl class="figures">\n${boxes}</dl>`
}

function figuresOf(pair: Pair): Figure[] {
  const lost = lostIn(pair)
  const downtime = downtimeOf(pair)
  const nothing = `nothing, on ${pair.source && pair.destination ? 'either' : 'this'} side`
  const cancelled = pair.netdevs.every(({ source }) => source?.outcome === 'cancelled')
  const sources = pair.netdevs.flatMap(({ source }) => source ?? [])
  const destinations = pair.netdevs.flatMap(({ destination }) => destination ?? [])
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
  const givenBack = sum(sources.map(({ given_back }) => given_back))
  const direct = sum(destinations.map(({ direct }) => direct))
  const cut = sources.find(({ cut_after_ms }) => cut_after_ms !== null)
  const delayed = destinations.filter(({ injected }) => injected > 0)
  const mean =
    sum(delayed.map(({ delay_mean_ms: ms, injected }) => ms * injected)) / sum(delayed.map(d => d.injected))
  return [
    {
      name: 'Lost',
      value: formatCount(lost),
      about: lost === 0 ? nothing : 'frames; where and why: below',
      lost: lost > 0,
    },
    cancelled
      ? {
          name: 'Kept',
          value: formatCount(sum(sources.map(({ captured }) => captured))),
          about: 'frames, in the TAP at the source',
        }
      : pair.destination === undefined
        ? { name: 'Sent on', value: formatCount(carriedIn(pair)), about: 'frames, to the destination' }
        : {
            name: 'Carried over',
            value: formatCount(carriedIn(pair)),
            about: 'frames, injected at the destination',
          },
    ...(downtime === undefined
      ? []
      : [{ name: 'VM stopped for', value: inWords(downtime), about: 'from STOP at the source to RESUME' }]),
    ...(cut === undefined
      ? []
      : [
          {
            name: 'Cut known after',
            value: inWords(cut.cut_after_ms ?? 0),
            about: cut.cut_method ?? 'by no method',
          },
        ]),
    ...(delayed.length === 0
      ? []
      : [
          {
            name: 'Delay added',
            value: inWords(Math.max(...delayed.map(({ delay_most_ms }) => delay_most_ms))),
            about: `at most; ${inWords(mean)} on average`,
          },
        ]),
    ...(givenBack === 0
      ? []
      : [{ name: 'Given back', value: formatCount(givenBack), about: 'frames, to the guest at the source' }]),
    ...(direct === 0
      ? []
      : [
          { name: 'Came by themselves', value: formatCount(direct), about: 'frames, once the gate was open' },
        ]),
  ]
}

function losses(pair: Pair): Markup {
  const rows = pair.netdevs.flatMap(netdev => {
    return lossesOf(netdev).map(({ frames, where, why }) => {
      const about = pair.netdevs.length > 1 ? `${netdev.name}, ${where}` : where
      return html`<tr><td class="number">${formatCount(frames)}</td><th scope="row">${about}</th><td>${why}</td></tr>\n`
    })
  })
  if (rows.length === 0) return NOTHING
  return html`<h2>What was lost</h2>
<table class="losses"><tbody>
${rows}</tbody></table>`
}

function notes(pair: Pair, axes: ReadonlyMap<NetdevPair, Axis>): Markup {
  const all = notesOf(pair, axes)
  if (all.length === 0) return NOTHING
  return html`<h2>Worth knowing</h2>
<ul>
${all.map(({ about, text }) => html`<li><b>${about}</b>: ${text}</li>\n`)}</ul>`
}

function netdevSection(pair: Pair, netdev: NetdevPair, axis: Axis): Markup {
  const { source, destination } = netdev
  const mac = source?.mac ?? destination?.mac
  const interfaces = [source?.interface, destination?.interface].filter(name => name !== undefined)
  const about = [[...new Set(interfaces)].join(' → '), ...(mac ? [mac] : [])].join(' · ')
  const lost = framesLost(lossesOf(netdev))
  const summary = pair.netdevs.length > 1 ? html`<p>${oneLine(netdev, lost)}</p>` : NOTHING
  return html`<section>
<h2>${netdev.name}<small>${about}</small></h2>
${summary}${timeline(pair, netdev, axis)}
${source ? html`<h3>The cut</h3>\n<p>${cutInWords(source)}</p>` : NOTHING}
<div class="sides">
${(['source', 'destination'] as const).map(side => sideSection(pair, netdev, side, axis))}</div>
</section>
`
}

function oneLine({ source, destination }: NetdevPair, lost: number): string {
  const carried = destination
    ? `${formatCount(destination.injected)} carried over`
    : `${formatCount(source?.sent ?? 0)} sent on`
  return `${formatFrames(lost)} lost, ${carried}.`
}

const LEGEND: readonly (readonly [name: keyof Column, text: string])[] = [
  ['captured', 'captured, from the cut on'],
  ['sent', 'sent to the destination'],
  ['came', 'come from the source'],
  ['injected', 'injected'],
  ['direct', 'come by themselves'],
  ['deduplicated', 'dropped: had come by themselves'],
]

function timeline(pair: Pair, netdev: NetdevPair, axis: Axis): Markup {
  const wide = picture(pair, netdev, axis, WIDE)
  const narrow = picture(pair, netdev, axis, NARROW)
  if (wide === undefined || narrow === undefined) {
    return html`<p class="note">The VM did not stop while it was watched: there is no switchover to be drawn.</p>`
  }
  const legend = LEGEND.filter(([name]) => wide.shown.has(name))
  const far = beyond(netdev, axis)
  const columns =
    wide.columnMs === narrow.columnMs
      ? html`Columns: frames in ${inWords(wide.columnMs)}.`
      : html`Columns: frames in <span class="wide">${inWords(wide.columnMs)}</span><span class="narrow">${inWords(narrow.columnMs)}</span>.`
  return html`<figure>
<div class="wide">${wide.svg}</div>
<div class="narrow">${narrow.svg}</div>
<div class="legend">${legend.map(([name, text]) => html`<span><i class="${name}"></i>${text}</span>`)}</div>
<figcaption>${columns}${wide.torn || narrow.torn ? ' One that is cut off at the top carries its number.' : ''} Times count from ${axis.zero}. ${clocks(netdev, axis)}${
    far.length === 0 ? '' : ` Beyond the picture: ${far.join(', ')}.`
  }</figcaption>
</figure>`
}

function clocks({ source, destination }: NetdevPair, { offsetMs }: Axis): string {
  if (source === undefined || destination === undefined) return 'One clock: that of the host that reports.'
  if (offsetMs === undefined) {
    return 'How far the two clocks are apart is not known: nothing is corrected, and the hosts may be shifted against each other.'
  }
  if (inWords(Math.abs(offsetMs)) === '0 ms') return 'The clocks of the two hosts agree.'
  const delay = source.link_delay_ms
  const within = delay === null ? '' : ` (within ${inWords(delay)})`
  const direction = offsetMs < 0 ? 'behind' : 'ahead'
  return `The destination's clock is ${inWords(Math.abs(offsetMs))} ${direction}${within}: its times are corrected by that.`
}

function sideSection(pair: Pair, netdev: NetdevPair, side: Side, axis: Axis): Markup {
  const report = pair[side]
  const title = side === 'source' ? 'Source' : 'Destination'
  if (report === undefined)
    return html`<section><h3>${title}</h3>\n<p class="note">Its report is missing.</p></section>\n`
  const of = netdev[side]
  if (of === undefined) {
    return html`<section><h3>${title}<small>${report.host}</small></h3>\n<p class="note">It does not report on this netdev.</p></section>\n`
  }
  const ended = of.reason === null ? of.outcome : `${of.outcome}: ${of.reason}`
  const states = of.states.map(({ state, time_ns }) => {
    const time = relative(axis.of(side, time_ns))
    return html`<tr><td class="number">${time}</td><th scope="row"><code>${state}</code></th><td>${STATES[state] ?? ''}</td></tr>\n`
  })
  return html`<section><h3>${title}<small>${report.host}</small></h3>
<p class="note">${ended}</p>
<table><tbody>
${states}</tbody></table>
<table class="counters"><tbody>
${counterRows(netdev, side)}</tbody></table></section>
`
}

function counterRows({ source, destination }: NetdevPair, side: Side): Markup[] {
  const sentences: Readonly<Record<string, string>> =
    side === 'source' ? SOURCE_COUNTERS : DESTINATION_COUNTERS
  const outcome = (side === 'source' ? source : destination)?.outcome
  const values = (side === 'source' ? source : destination) as unknown as Readonly<Record<string, number>>
  return Object.entries(sentences).map(([name, sentence]) => {
    const value = values[name] ?? 0
    const kind = value === 0 ? 'zero' : LOST.has(name) && outcome !== 'cancelled' ? 'lost' : ''
    return html`<tr${kind === '' ? NOTHING : html` class="${kind}"`}><td class="number">${formatCount(value)}</td><th scope="row"><code>${name}</code></th><td>${sentence}</td></tr>\n`
  })
}

function written(pair: Pair, version: string): string {
  const reports = eitherOf(pair).map(({ side, host, tapferry, time }) => {
    return `${side} ${host}, tapferry ${tapferry}, written ${time.slice(0, 19).replace('T', ' ')} UTC`
  })
  return `From the reports of: ${reports.join('; ')}. Page by tapferry ${version}. What a report means: docs/live-migration.md.`
}
