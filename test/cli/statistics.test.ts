import test from 'ava'
import { Chalk } from 'chalk'
import type { Statistics } from '../../ts/binding.ts'
import { exitStatusOf, TapferryError } from '../../ts/errors.ts'
import {
  nothingForwarded,
  statisticsLine,
  statisticsRecord,
  statisticsTable,
  withoutFinalOutage,
} from '../../ts/output/statistics.ts'
import { runOptions } from '../../ts/run/options.ts'
import { planRun } from '../../ts/run/plan.ts'

const plain = new Chalk({ level: 0 })
const noOptions = Object.fromEntries(Object.keys(runOptions).map(key => [key, undefined]))
const plan = planRun({ ...noOptions, inNetdev: 'tapA', outNetdev: 'tapB' } as Parameters<typeof planRun>[0])

const quiet: Statistics = {
  inNetdev: 'tapA',
  outNetdev: 'tapB',
  gate: 'open',
  status: true,
  running: true,
  engine: 'ring',
  captured: 0,
  capturedBytes: 0,
  forwarded: 0,
  forwardedBytes: 0,
  forwardedLate: 0,
  held: 0,
  heldBytes: 0,
  dropped: { gate_closed: 0, output_full: 0, some_new_reason: 0 },
  lostAtOutput: 0,
  framingErrors: 0,
  tlsFailures: 0,
  inputOutages: 0,
  outputOutages: 0,
  inputOutageMs: 0,
  outputOutageMs: 0,
  eventsLost: 0,
}

const busy: Statistics = {
  ...quiet,
  captured: 12_345,
  capturedBytes: 12_345_000,
  forwarded: 12_300,
  forwardedBytes: 12_300_000,
  forwardedLate: 2,
  held: 5,
  heldBytes: 500,
  dropped: { gate_closed: 30, output_full: 0, some_new_reason: 10 },
  lostAtOutput: 7,
  inputOutages: 1,
  inputOutageMs: 2310,
  eventsLost: 1,
  lastError: 'send on tapB: ENOBUFS',
}

test('a quiet table has three rows', t => {
  t.deepEqual(statisticsTable(quiet, plain), ['  captured   0  0 B', '  forwarded  0  0 B', '  dropped    0'])
})

test('a busy table shows what is not zero, aligned, the most frequent reason first', t => {
  t.deepEqual(statisticsTable(busy, plain), [
    '  captured           12,345  12.3 MB',
    '  forwarded          12,300  12.3 MB',
    '    late                  2  after the gate had closed, before we knew',
    '  held                    5  500 B, waiting',
    '  dropped                40',
    '    gate_closed          30  the gate was closed',
    '    some_new_reason      10',
    '  lost at output          7  tx_dropped of tapB, by all senders',
    '  input outages           1  tapA was down, missing or without a carrier for 2.3 s',
    '  events lost             1  not told, because too many came at once',
    '  last error: send on tapB: ENOBUFS',
  ])
})

test('the regular line has the reasons in brackets', t => {
  t.is(
    statisticsLine(busy),
    'captured 12,345, forwarded 12,300 (12.3 MB), dropped 40 (gate_closed 30, some_new_reason 10), held 5, ' +
      'lost at output 7, gate open',
  )
})

test('the JSON record is flat and raw, and its sum holds', t => {
  const record = statisticsRecord(busy)
  t.true(Object.values(record).every(value => value === undefined || typeof value !== 'object'))
  t.like(record, { captured: 12_345, dropped: 40, dropped_gate_closed: 30, dropped_output_full: 0, held: 5 })
  t.is(record['captured'], busy.forwarded + Number(record['dropped']) + busy.held)
})

test('a run that forwarded nothing says why', t => {
  t.is(nothingForwarded(busy, plan), undefined)
  const why = (change: Partial<Statistics>, status = true) =>
    nothingForwarded({ ...quiet, ...change }, { ...plan, status })
  t.regex(why({}) ?? '', /no frames to the guest came in on tapA$/)
  t.regex(why({ gate: 'closed' }) ?? '', /the gate is closed, and nothing came in on tapA$/)
  t.regex(why({ gate: 'closed' }, false) ?? '', /with status=off nothing is captured$/)
  t.regex(why({ captured: 1, held: 1, gate: 'closed' }) ?? '', /1 frame held, the gate stayed closed$/)
  t.regex(why({ captured: 2, dropped: { gate_closed: 2 } }) ?? '', /dropped gate_closed 2$/)
})

/** From a stream to a stream. */
const { inNetdev: _, outNetdev: __, ...ends } = quiet
const relayed: Statistics = {
  ...ends,
  indev: 'unix:/run/a.sock',
  outdev: 'tcp:[::1]:4000',
  engine: 'stream',
  captured: 100,
  capturedBytes: 6000,
  forwarded: 50,
  forwardedBytes: 3000,
  held: 5,
  heldBytes: 300,
  dropped: { no_peer: 30, hold_full: 10, output_full: 4, too_long: 1 },
  framingErrors: 2,
  inputOutages: 1,
  inputOutageMs: 1500,
  outputOutages: 2,
  outputOutageMs: 200,
}

test("a relay's table speaks of streams, their peers and their framing errors", t => {
  t.deepEqual(statisticsTable(relayed, plain), [
    '  captured        100  6.00 kB',
    '  forwarded        50  3.00 kB',
    '  held              5  300 B, waiting',
    '  dropped          45',
    '    no_peer        30  outdev had no peer',
    '    hold_full      10  the buffer was full of frames on hold',
    "    output_full     4  outdev's peer was too slow: the buffer was full",
    '    too_long        1  longer than a record may be, 69,632 bytes',
    '  framing errors    2  connections of unix:/run/a.sock that were closed for them',
    '  input outages     1  unix:/run/a.sock had no peer for 1.5 s',
    '  output outages    2  tcp:[::1]:4000 had no peer for 200 ms',
  ])
})

test('an outage that begins with the end of a run is that end', t => {
  const outages = (change: Partial<Statistics>) => withoutFinalOutage({ ...relayed, ...change })
  t.like(outages({ inputOutageMs: 19 }), { inputOutages: 0, outputOutages: 2 })
  t.is(outages({ inputOutageMs: 20 }).inputOutages, 1)
  t.is(outages({ outputOutages: 1, outputOutageMs: 0 }).outputOutages, 0)
})

test('the regular line of a relay has framing errors, and no loss that only an interface counts', t => {
  t.is(
    statisticsLine(relayed),
    'captured 100, forwarded 50 (3.00 kB), dropped 45 (no_peer 30, hold_full 10, output_full 4, too_long 1), ' +
      'held 5, framing errors 2, gate open',
  )
  t.notRegex(statisticsLine({ ...relayed, framingErrors: 0 }), /framing/)
})

test('the JSON record names a stream as indev and outdev', t => {
  const record = JSON.parse(JSON.stringify(statisticsRecord(relayed)))
  t.like(record, { indev: 'unix:/run/a.sock', outdev: 'tcp:[::1]:4000', engine: 'stream', framing_errors: 2 })
  t.false('in_netdev' in record || 'out_netdev' in record)
})

test('a relay that forwarded nothing says why', t => {
  const idle = { ...relayed, forwarded: 0, dropped: {} }
  const why = (change: Partial<Statistics>) => nothingForwarded({ ...idle, ...change }, plan)
  t.regex(why({ held: 0, framingErrors: 0 }) ?? '', /no frames came in on unix:\/run\/a\.sock$/)
  t.regex(why({ held: 0 }) ?? '', /connections of unix:\/run\/a\.sock were closed: framing errors 2$/)
  t.regex(why({ held: 2 }) ?? '', /2 frames held, and not released$/)
  t.regex(why({ dropped: { no_peer: 5 } }) ?? '', /dropped no_peer 5$/)
})

test('every code has its documented exit status', t => {
  const expected = {
    ADDON_MISSING: 1,
    SYSTEM: 1,
    INTERNAL: 1,
    STREAM_IN_USE: 1,
    STREAM_UNREACHABLE: 1,
    STREAM_INVALID: 1,
    STREAM_CLOSED: 1,
    STREAM_MALFORMED: 1,
    USAGE: 2,
    INVALID_OPTIONS: 2,
    MONITOR_ADDRESS_INVALID: 2,
    STREAM_ADDRESS_INVALID: 2,
    PERMISSION: 3,
    MONITOR_PERMISSION: 3,
    MONITOR_NOT_FOUND: 4,
    MONITOR_BUSY: 4,
    MONITOR_FROZEN: 4,
    MONITOR_LOST: 4,
    QMP_ERROR: 4,
    NETDEV_ID_UNRESOLVED: 5,
    NETDEV_ID_UNKNOWN: 5,
    NETDEV_NOT_FOUND: 5,
    NETDEV_NOT_ETHERNET: 5,
  }
  const actual = Object.fromEntries(Object.keys(expected).map(code => [code, exitStatusOf(code)]))
  t.deepEqual<Record<string, number>, Record<string, number>>(actual, expected)
})

test("the binding's errors keep their code, and their second line becomes the next step", t => {
  const rejected = Object.assign(new Error("in_netdev 'x' not found\nsee ip link"), {
    code: 'NETDEV_NOT_FOUND',
  })
  t.like(TapferryError.from(rejected), {
    code: 'NETDEV_NOT_FOUND',
    message: "in_netdev 'x' not found",
    hint: 'see ip link',
  })
})

test("an error of Node's or of nobody's is internal", t => {
  const foreign = ['ENOENT', 'EACCES', 'ERR_INVALID_ARG_TYPE', 42, undefined]
  for (const code of foreign)
    t.is(TapferryError.from(Object.assign(new Error('x'), { code })).code, 'INTERNAL')
  t.is(TapferryError.from('a string').code, 'INTERNAL')
})
