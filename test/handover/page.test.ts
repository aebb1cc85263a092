/** What an operator reads on the page of a handover. */

import test from 'ava'
import { pageOf } from '../../ts/handover/report/page.ts'
import { pairOf } from '../../ts/handover/report/pair.ts'
import {
  destinationNetdev,
  destinationReport,
  SAMPLES,
  type Sample,
  sourceNetdev,
  sourceReport,
} from './samples.ts'

function pageOfSample({ source, destination }: Sample): string {
  const reports = [source, destination].filter(report => report !== undefined)
  return pageOf(pairOf(reports.map(report => ({ file: report.side, report }))), '0.1.0')
}

function page(name: string): string {
  return pageOfSample(SAMPLES[name] ?? {})
}

/** What it says, without markup. */
function textOf(markup: string): string {
  return markup
    .replace(/<style>.*?<\/style>/s, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, '&')
    .replace(/\s+/g, ' ')
}

function headline(markup: string): string {
  return /<h1>(.*?)<\/h1>/.exec(markup)?.[1] ?? ''
}

const HEADLINES: Readonly<Record<string, readonly [tone: string, headline: string]>> = {
  done: ['good', '0 frames lost: 717 carried over, in order, while the VM was stopped for 352 ms'],
  cancelled: ['neutral', 'Cancelled: the VM runs on at the source, and nothing was lost'],
  failed: ['bad', 'Failed: 594 frames lost, 816 carried over'],
  late: ['caution', '0 frames lost: 639 carried over, not all in order, while the VM was stopped for 312 ms'],
  'source only': ['caution', '0 frames lost at the source: 717 sent on while the VM was stopped for 352 ms'],
  'destination only': [
    'caution',
    '0 frames lost at the destination: 717 injected, in order, while the VM was stopped for 352 ms',
  ],
  'two netdevs': ['good', '0 frames lost: 803 carried over, in order, while the VM was stopped for 352 ms'],
  'no gate': ['caution', '0 frames lost: 717 carried over, in order, while the VM was stopped for 352 ms'],
  stopped: ['neutral', 'No migration came: nothing was handed over'],
}

test('there is a headline for every sample', t => {
  t.deepEqual(Object.keys(HEADLINES).sort(), Object.keys(SAMPLES).sort())
})

for (const [name, [tone, words]] of Object.entries(HEADLINES)) {
  test(`the headline says what came of it: ${name}`, t => {
    const markup = page(name)
    t.is(headline(markup), words)
    t.regex(markup, new RegExp(`<header class="verdict ${tone}">`))
  })

  test(`the page stands alone: ${name}`, t => {
    const markup = page(name)
    t.notRegex(markup, /<script|<link|<img|<iframe|src=|href=|url\(|@import|\son\w+=/)
    t.notRegex(markup, /NaN|undefined|Infinity|\[object/)
    t.regex(markup, /^<!doctype html>\n/)
    t.true(markup.includes('prefers-color-scheme: dark') && markup.includes('@media print'))
  })

  test(`every element is closed: ${name}`, t => {
    const open: string[] = []
    const markup = page(name).replace(/<style>.*?<\/style>/s, '')
    for (const [, slash, tag = '', empty] of markup.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
      if (tag === 'meta' || empty) continue
      if (slash) t.is(open.pop(), tag)
      else open.push(tag)
    }
    t.deepEqual(open, [])
  })
}

test('what was lost is said with where and why', t => {
  const text = textOf(page('failed'))
  t.regex(text, /What was lost 77 at the source more were waiting than --max-hold allows 512 at the source/)
  t.regex(text, /4 between the hosts sent, and never received/)
  t.regex(text, /1 at the destination the kernel did not take them for tap-web7/)
  t.regex(text, /the link to tcp:10\.0\.0\.11:7070 is lost: Connection reset by peer \(\+402 ms\)/)
  t.regex(text, /Beyond the picture: FAILED at \+1 min 00 s/)
})

test('nothing is said to be lost where nothing was', t => {
  t.notRegex(page('done'), /<h2>What was lost/)
  t.regex(textOf(page('done')), /Lost 0 nothing, on either side/)
  t.regex(textOf(page('source only')), /Lost 0 nothing, on this side/)
})

test('frames that a cancelled migration leaves at the source are not lost', t => {
  const text = textOf(page('cancelled'))
  t.regex(text, /486 frames came while it was stopped: .* 1 of them given back/)
  t.regex(text, /Nothing was injected at the destination/)
  t.notRegex(page('cancelled'), /class="lost"/)
})

test('the cut is told with its method, its time, and why there was no better one', t => {
  t.regex(
    textOf(page('done')),
    /read from the guest's own receive queue \(used_ring\), 0\.11 ms after the stop/,
  )
  t.regex(textOf(page('late')), /\(used_index\), 285 ms after .* because: .*CAP_SYS_PTRACE is missing/)
  t.regex(textOf(page('no gate')), /The cut is not exact: a few frames from just before the stop/)
})

test('a gate that was missing is told, and so is what was warned of', t => {
  const text = textOf(page('no gate'))
  t.regex(text, /hn0 : there was no gate/)
  t.regex(text, /hv-11, hn0 : no gate before tap-web7: CAP_NET_ADMIN is missing/)
})

test('every counter of both sides is on the page, with a sentence', t => {
  const markup = page('done')
  const { source, destination } = SAMPLES['done'] ?? {}
  for (const netdev of [source?.netdevs[0], destination?.netdevs[0]]) {
    for (const [name, value] of Object.entries(netdev ?? {})) {
      if (typeof value !== 'number' || name.endsWith('_ms')) continue
      t.regex(markup, new RegExp(`<code>${name}</code></th><td>[A-Z].{10,}</td>`), name)
    }
  }
})

test('both sides tell their states by one clock', t => {
  const text = textOf(page('done'))
  t.regex(text, /−8\.21 s calibrate .* \+0\.09 ms stopping .* \+353 ms drain/)
  t.regex(text, /−1 min 35 s gated .* \+8\.5 ms injecting .* \+9\.6 ms passing/)
  t.regex(
    text,
    /The destination's clock is 3\.4 ms ahead \(within 0\.21 ms\): its times are corrected by that/,
  )
})

test('clocks that nobody has compared are not corrected, and that is said', t => {
  const source = sourceReport([sourceNetdev({}, { clock_offset_ms: null })])
  const destination = destinationReport([destinationNetdev({}, { clock_offset_ms: null })])
  const text = textOf(pageOfSample({ source, destination }))
  t.regex(text, /How far the two clocks are apart is not known: nothing is corrected/)
  t.regex(text, /gate opened \+13 ms/)
})

test('the picture has every mark', t => {
  const marks = [...page('done').matchAll(/<tspan class="what">(.*?)<\/tspan>/g)].map(([, name]) => name)
  const once = ['STOP', 'CUT', 'gate opened', 'RESUME', 'RARP', 'END']
  t.deepEqual(marks, [...once, ...once])
})

test('two netdevs have a section each, and one that only one side knows says so', t => {
  t.deepEqual(
    [...page('two netdevs').matchAll(/<h2>(\w+)<small>/g)].map(([, name]) => name),
    ['hn0', 'hn1'],
  )
  const { source } = SAMPLES['two netdevs'] ?? {}
  const { destination } = SAMPLES['done'] ?? {}
  const text = textOf(pageOfSample({ ...(source && { source }), ...(destination && { destination }) }))
  t.regex(text, /hn1 : the destination does not report on it/)
})

test('sides that do not agree about the end are both named', t => {
  const { source } = SAMPLES['done'] ?? {}
  const { destination } = SAMPLES['cancelled'] ?? {}
  const markup = pageOfSample({ ...(source && { source }), ...(destination && { destination }) })
  t.is(headline(markup), 'The two sides do not agree: one has handed over, the other has given up')
  t.regex(textOf(markup), /486 at the destination discarded, as if the migration had been cancelled/)
})

test('whatever a report says stays text', t => {
  const evil = `<script>alert(1)</script>"'&`
  const source = sourceReport(
    [
      sourceNetdev(
        {},
        {
          netdev: evil,
          interface: evil,
          mac: evil,
          reason: evil,
          cut_reason: evil,
          states: [{ state: evil, time_ns: '1' }],
        },
      ),
    ],
    {
      host: evil,
      tapferry: evil,
      time: evil,
      vm: { name: evil, uuid: evil },
      warnings: [{ netdev: evil, code: evil, time_ns: '1', message: evil }],
    },
  )
  const markup = pageOfSample({ source })
  t.notRegex(markup, /<script|"'&[^a#]/)
  t.true(markup.includes('&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;'))
})

test('a minute of slices makes no bigger picture than a second', t => {
  const slices = Array.from({ length: 12_000 }, (_, index) => {
    const time_ns = String(1_763_838_187_123_456_789n + BigInt(index) * 5_000_000n)
    return { time_ns, came: 1, went: 1, direct: 0, deduplicated: 0 }
  })
  const netdev = sourceNetdev({ resumedAfter: 58_000 }, { timeline: { slice_ms: 5, slices } })
  t.true(pageOfSample({ source: sourceReport([netdev]) }).length < 150_000)
})
