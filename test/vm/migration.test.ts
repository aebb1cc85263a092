/**
 * The lab's short form: a guest is migrated for real, and what it has counted must be right, with tapferry on both hosts.
 * lab/migration measures more.
 */

import test, { type ExecutionContext } from 'ava'
import { Cleanup } from '../../lab/migration/cleanup.ts'
import type { Count } from '../../lab/migration/count.ts'
import type { Ferried } from '../../lab/migration/ferries.ts'
import { type Row, Scene } from '../../lab/migration/scene.ts'
import { type Variant, variant } from '../../lab/migration/variants.ts'
import { destinationBalance, sourceBalance } from '../../ts/handover/report/balance.ts'
import type { DestinationNetdev, HandoverReport, SourceNetdev } from '../../ts/handover/report/shape.ts'
import { orSkip } from '../support/lab.ts'
import { guestImage } from '../support/vm.ts'
import { only } from './support.ts'

/** A migration takes 7 s, and several times that on a machine that is busy with other things. */
const TEST_MS = 110_000
/** The first time, cargo builds the guest's program. */
const SET_UP_MS = 300_000

/** Frames that the network brings by itself may overtake the last ones that come by the source. */
const OVERTAKEN = 10

const cleanup = new Cleanup()
let scene: Promise<Scene> | undefined

test.after.always('the guest and its network end', () => cleanup.close())

/** One after the other, with the same guest: where it is afterwards, the next one begins. */
function migrationTest(title: string, name: string, look: (t: ExecutionContext, row: Row) => void): void {
  test.serial(title, async t => {
    t.timeout(SET_UP_MS)
    scene ??= open()
    const present = await orSkip(t, scene)
    t.timeout(TEST_MS)
    if (present === undefined) return
    const row = await orSkip(t, present.migrate(named(name), true))
    if (row === undefined) return
    t.log(told(row))
    t.is(row.lostByReader, 0, 'the guest has counted all that reached it')
    t.deepEqual(row.left, [], 'nothing is left on the hosts')
    look(t, row)
  })
}

/** Of all variants here, only this one wants anything of the scene. */
async function open(): Promise<Scene> {
  return Scene.open(await guestImage(), named('encrypted'), cleanup)
}

function named(name: string): Variant {
  const found = variant(name)
  if (found === undefined) throw new Error(`the lab has no variant '${name}'`)
  return found
}

const plain = [
  ['there', 'basic'],
  ['back, with TLS between the hosts,', 'encrypted'],
] as const

for (const [way, name] of plain) {
  migrationTest(`a guest that migrates ${way} gets every frame once, in order`, name, (t, row) => {
    arrived(t, row.unicast)
    inOrder(t, row.unicast)
    handedOver(t, row)
  })
}

migrationTest('broadcasts, which the network brings to both hosts, come once', 'broadcast', (t, row) => {
  arrived(t, row.unicast)
  if (row.broadcast === undefined) throw new Error('there were no broadcasts')
  arrived(t, row.broadcast)
  handedOver(t, row)
})

migrationTest('a guest whose migration is cancelled has lost nothing', 'cancel', (t, row) => {
  arrived(t, row.unicast)
  const source = reported<SourceNetdev>(t, row.source, 'cancelled')
  const destination = reported<DestinationNetdev>(t, row.destination, 'cancelled')
  t.is(destination.resumed_ns, null, 'what was injected there, no guest has seen')
  t.is(source.cut_method, 'used_ring')
})

migrationTest('a source that quits at once takes no frame with it', 'source-quits', (t, row) => {
  arrived(t, row.unicast)
  inOrder(t, row.unicast)
  handedOver(t, row)
})

migrationTest('a guest that runs before its memory is there lacks no frame', 'postcopy', (t, row) => {
  arrived(t, row.unicast)
  inOrder(t, row.unicast)
  handedOver(t, row)
})

/**
 * Once each, and all that the switchover has to do with: a guest that is too slow for its TAP's queue, because the
 * machine is busy, loses frames long before or after it.
 */
function arrived(t: ExecutionContext, { lost, elsewhere, duplicated, sent, gaps }: Count): void {
  t.true(sent > 0)
  t.is(duplicated, 0)
  t.is(lost - elsewhere, 0, JSON.stringify(gaps))
}

function inOrder(t: ExecutionContext, { reordered }: Count): void {
  t.true(reordered <= OVERTAKEN, `${reordered} frames were reordered`)
}

/** Both sides say so, and agree. */
function handedOver(t: ExecutionContext, row: Row): void {
  const source = reported<SourceNetdev>(t, row.source, 'done')
  const destination = reported<DestinationNetdev>(t, row.destination, 'done')
  t.is(source.cut_method, 'used_ring', source.cut_reason ?? '')
  t.like(source, { tap_held: true, acknowledged: source.sent, held: 0, links_lost: 0 })
  t.like(destination, { refused: 0, links_lost: 0 })
  t.not(destination.gate, null)
  t.is(destination.received, source.sent)
}

/** A good end, and counters that add up. */
function reported<Netdev extends SourceNetdev | DestinationNetdev>(
  t: ExecutionContext,
  ferried: Ferried | undefined,
  outcome: HandoverReport['outcome'],
): Netdev {
  t.is(ferried?.status, 0, ferried?.stderr)
  const report = ferried?.report
  if (report === undefined) throw new Error('there is no report')
  t.is(report.outcome, outcome)
  t.deepEqual(report.warnings, [])
  const netdev = only<SourceNetdev | DestinationNetdev>(report.netdevs)
  balanced(t, netdev)
  return netdev as Netdev
}

function balanced(t: ExecutionContext, netdev: SourceNetdev | DestinationNetdev): void {
  const { came, accountedFor } = 'captured' in netdev ? sourceBalance(netdev) : destinationBalance(netdev)
  t.is(accountedFor, came, JSON.stringify(netdev))
}

/** For the log: a failure on a busy machine is told by its figures. */
function told({ from, to, unicast, broadcast, downtimeMs, totalMs, wallMs }: Row): string {
  const flow = ({ sent, lost, elsewhere, duplicated, reordered }: Count) =>
    `${sent} sent, ${lost} lost (${elsewhere} elsewhere), ${duplicated} duplicated, ${reordered} reordered`
  const times = [downtimeMs, totalMs, wallMs].map(time => time.toFixed(0)).join(', ')
  return `${from} > ${to}: ${[unicast, ...(broadcast ? [broadcast] : [])].map(flow).join('; ')}; ms: ${times}`
}
