/** Whether frames could go round, come twice, or be taken for our own. Pure. */

import type { HostInterface, MarkRule } from '../../binding.ts'
import { ExitStatus } from '../../errors.ts'
import type { End, Facts } from '../facts.ts'
import { type Details, error, type Finding, info, ok, warning } from '../finding.ts'
import type { Ferry } from '../gather/ferries.ts'
import { again } from '../shell.ts'
import { nameOf } from './interfaces.ts'

/** SO_MARK has 32 bits, and 0 is no mark. */
const MAX_MARK = 0xffff_ffff
/** So many are tried after the one that was asked for. */
const NEARBY_MARKS = 1 << 16

export function checkLoops(facts: Facts): Finding[] {
  const { input, output } = facts
  const findings = [...checkMarkRules(facts)]
  if (input?.facts !== undefined && output?.facts !== undefined) {
    findings.push(...checkEnds(facts, input, input.facts, output, output.facts))
    findings.push(...facts.ferries.flatMap(ferry => checkFerry(facts, ferry, input, output)))
  }
  return findings.length > 0
    ? findings
    : [ok('NO_LOOP', `mark ${hex(facts.request.mark)}`, 'no loop, and nothing else looks at the mark')]
}

function checkEnds(
  { request }: Facts,
  input: End,
  from: HostInterface,
  output: End,
  to: HostInterface,
): Finding[] {
  if (input.network?.namespace !== output.network?.namespace) return []
  const about = `${nameOf(input)}, ${nameOf(output)}`
  const twice = `the guest of ${input.place.interface} gets frames twice`
  if (from.ifindex === to.ifindex) {
    if (request.queue !== 'tx') return []
    return [
      warning('SAME_NETDEV', about, `both ends are one interface: ${twice}`, {
        note: 'give another out_netdev; or --queue=rx, to send a guest its own frames back',
      }),
    ]
  }
  // A bridge, or the far end of a cable into it: what is injected there is delivered again by the bridge.
  const peer = output.network?.interfaces.find(({ ifindex }) => ifindex === to.link && to.kind === 'veth')
  const bridge = from.controller
  const back = bridge !== undefined && (to.ifindex === bridge || peer?.controller === bridge)
  if (!back || to.linkElsewhere) return []
  return [
    warning(
      'COMES_BACK',
      about,
      `what is injected reaches the bridge that ${input.place.interface} is a port of: ${twice}`,
      {
        note: 'inject into an interface that does not lead back to this bridge',
      },
    ),
  ]
}

function checkFerry(facts: Facts, ferry: Ferry, input: End, output: End): Finding[] {
  const { request } = facts
  const about = `tapferry ${ferry.pid}`
  const has = (ifindexes: readonly number[], { facts: netdev, network }: End): boolean =>
    netdev !== undefined && network?.namespace === ferry.namespace && ifindexes.includes(netdev.ifindex)
  const [into, from] = [has(ferry.injects, input), has(ferry.captures, output)]
  const same = has(ferry.captures, input) && has(ferry.injects, output)
  if (same) {
    return [
      info(
        'FERRY_TWICE',
        about,
        `it already goes from ${input.place.interface} to ${output.place.interface}: with a second one every frame would come twice`,
        { note: `if this is about a new run, end that one first: kill ${ferry.pid}` },
      ),
    ]
  }
  if (into && from && ferry.mark !== request.mark) {
    return [
      error(
        'FERRY_LOOP',
        ExitStatus.Failed,
        about,
        `it goes the other way with another mark (${hex(ferry.mark)}): frames would go round for ever`,
        {
          fix: again(request, { '--mark': hex(ferry.mark) }),
        },
      ),
    ]
  }
  if (into && !from && ferry.mark === request.mark) {
    return [
      warning(
        'CHAIN_CUT',
        about,
        `it injects into ${input.place.interface} with the same mark (${hex(ferry.mark)}): what it brings is not captured again`,
        withFreeMark(facts),
      ),
    ]
  }
  return []
}

function checkMarkRules(facts: Facts): Finding[] {
  const { request, input, output } = facts
  const rules = [input, output].flatMap(end => end?.network?.markRules ?? [])
  const rule = rules.find(each => matches(each, request.mark))
  if (rule === undefined) return []
  return [
    warning(
      'MARK_TAKEN',
      `mark ${hex(request.mark)}`,
      `routing rule ${rule.priority} (table ${rule.table}) looks at this mark: whoever set it up marks packets for itself, ` +
        'and those would not be captured',
      withFreeMark(facts),
    ),
  ]
}

/** As the kernel compares them (fib_rules.c). A rule about bits that are not set is about unmarked packets. */
function matches({ mark, mask }: MarkRule, candidate: number): boolean {
  return (mark & mask) !== 0 && ((candidate ^ mark) & mask) === 0
}

/** The next one that no rule and no other tapferry uses; undefined if rules leave none nearby. */
function freeMark({ request, input, output, ferries }: Facts): string | undefined {
  const rules = [input, output].flatMap(end => end?.network?.markRules ?? [])
  const free = (mark: number): boolean =>
    !rules.some(rule => matches(rule, mark)) && !ferries.some(ferry => ferry.mark === mark)
  const near = Array.from({ length: NEARBY_MARKS }, (_, index) => (request.mark % MAX_MARK) + 1 + index)
  const mark = near.find(candidate => candidate <= MAX_MARK && free(candidate))
  return mark === undefined ? undefined : hex(mark)
}

function withFreeMark(facts: Facts): Details {
  const mark = freeMark(facts)
  return mark === undefined
    ? { note: 'give another mark: --mark=NUMBER' }
    : { fix: again(facts.request, { '--mark': mark }) }
}

function hex(mark: number): string {
  return `0x${mark.toString(16)}`
}
