/** Faults of MTU and offloads: what comes in does not go out whole. */

import { labTest } from '../support/lab.ts'
import { cable, findsAndMends, shell, twoTaps } from './support.ts'

const FROM_CABLE = { args: ['--in-netdev=vethA', '--out-netdev=tapB'] }

labTest('out_netdev has a smaller MTU', async (t, lab) => {
  await twoTaps(lab)
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'MTU_SMALLER', severity: 'warning', status: 0 },
    message: /its MTU is 1500, that of tapA is 9000: longer frames are dropped as too_long/,
    seed: () => lab.ask('link', { name: 'tapA', mtu: 9000 }),
  })
  t.is(fix, 'ip link set dev tapB mtu 9000')
})

labTest('in_netdev takes frames that are to be segmented inside a tunnel', async (t, lab) => {
  await lab.ask('tap', { name: 'tapB' })
  await cable(lab, 'vethA', 'vethZ')
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'TUNNEL_OFFLOADS', severity: 'warning', status: 0 },
    message: /tunnelled packets .* dropped as unsupported_offload/,
    faulty: FROM_CABLE,
    seed: () => shell(lab, 'ethtool -K vethA tx-gre-csum-segmentation on tx-udp_tnl-segmentation on'),
  })
  t.is(fix, 'ethtool -K vethA tx-gre-csum-segmentation off tx-udp_tnl-segmentation off')
})

labTest('in_netdev takes frames above 64 KiB', async (t, lab) => {
  await lab.ask('tap', { name: 'tapB' })
  await cable(lab, 'vethA', 'vethZ')
  await findsAndMends(t, lab, {
    ...{ code: 'BIG_TCP', severity: 'warning', status: 0 },
    message: /up to 131072 bytes: those above 64 KiB are dropped/,
    faulty: FROM_CABLE,
    seed: () => shell(lab, 'ip link set dev vethA gso_max_size 131072'),
  })
})
