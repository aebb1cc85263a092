/** Whether what comes in can go out whole: MTU and segmentation offloads of both ends. Pure. */

import type { Facts } from '../facts.ts'
import { type Finding, ok, warning } from '../finding.ts'
import { at } from '../shell.ts'
import { nameOf } from './interfaces.ts'

/** With more in one frame (BIG TCP) a capture cannot hold it whole. */
const MAX_GSO_BYTES = 65_536

/** GSO frames of these describe their inner packet alone, and no virtio-net header tells the rest. */
const TUNNEL_OFFLOADS = [
  'tx-gre-segmentation',
  'tx-gre-csum-segmentation',
  'tx-udp_tnl-segmentation',
  'tx-udp_tnl-csum-segmentation',
]

export function checkOffloads({ input, output }: Facts): Finding[] {
  const findings: Finding[] = []
  if (input?.facts !== undefined && output?.facts !== undefined && output.facts.mtu < input.facts.mtu) {
    const { mtu } = input.facts
    findings.push(
      warning(
        'MTU_SMALLER',
        nameOf(output),
        `its MTU is ${output.facts.mtu}, that of ${input.place.interface} is ${mtu}: longer frames are dropped as too_long`,
        { fix: at(output, 'ip', 'link', 'set', 'dev', output.place.interface, 'mtu', mtu) },
      ),
    )
  }
  if (input?.facts !== undefined) {
    const { offloads, gsoMaxSize } = input.facts
    const name = input.place.interface
    const tunnels = TUNNEL_OFFLOADS.filter(feature => offloads.includes(feature))
    if (tunnels.length > 0) {
      findings.push(
        warning(
          'TUNNEL_OFFLOADS',
          nameOf(input),
          'senders may leave the segmentation of tunnelled packets (VXLAN, GRE) to it: such frames are dropped as unsupported_offload',
          { fix: at(input, 'ethtool', '-K', name, ...tunnels.flatMap(feature => [feature, 'off'])) },
        ),
      )
    }
    if (gsoMaxSize > MAX_GSO_BYTES) {
      findings.push(
        warning(
          'BIG_TCP',
          nameOf(input),
          `its frames may have up to ${gsoMaxSize} bytes: those above 64 KiB are dropped as truncated`,
          {
            fix: at(input, 'ip', 'link', 'set', 'dev', name, 'gso_max_size', MAX_GSO_BYTES),
          },
        ),
      )
    }
  }
  if (findings.length > 0 || input?.facts === undefined || output?.facts === undefined) return findings
  return [ok('SIZES_FIT', `${nameOf(input)}, ${nameOf(output)}`, 'MTU and offloads of both ends go together')]
}
