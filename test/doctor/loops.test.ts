/** Faults that make frames go round, come twice, or be taken for others'. */

import { labTest } from '../support/lab.ts'
import { cable, ENDS, ferry, finds, findsAndMends, shell, twoTaps } from './support.ts'

labTest('another tapferry goes the other way with another mark', async (t, lab) => {
  await twoTaps(lab)
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'FERRY_LOOP', severity: 'error', status: 1 },
    message: /goes the other way with another mark \(0x99\): frames would go round for ever/,
    seed: () => ferry(t, lab, '--in-netdev=tapB', '--out-netdev=tapA', '--mark=0x99'),
  })
  t.regex(fix ?? '', / --mark=0x99$/)
})

labTest('what another tapferry brings would not be captured', async (t, lab) => {
  await twoTaps(lab)
  await lab.ask('tap', { name: 'tapC' })
  await findsAndMends(t, lab, {
    ...{ code: 'CHAIN_CUT', severity: 'warning', status: 0 },
    message: /injects into tapA with the same mark \(0x3074\): what it brings is not captured again/,
    seed: () => ferry(t, lab, '--in-netdev=tapC', '--out-netdev=tapA'),
  })
})

labTest('another tapferry does the same already', async (t, lab) => {
  await twoTaps(lab)
  const { note } = await finds(t, lab, {
    ...{ code: 'FERRY_TWICE', severity: 'info', status: 0 },
    message: /already goes from tapA to tapB: with a second one every frame would come twice/,
    seed: () => ferry(t, lab, ...ENDS),
  })
  t.regex(note ?? '', /kill \d+$/)
})

labTest('a routing rule has the mark', async (t, lab) => {
  await twoTaps(lab)
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'MARK_TAKEN', severity: 'warning', status: 0 },
    message: /routing rule \d+ \(table 100\) looks at this mark/,
    seed: () => shell(lab, 'ip rule add fwmark 0x3074/0xfffe table 100'),
  })
  t.regex(fix ?? '', / --mark=0x3076$/, 'the next that no rule has')
})

labTest('both ends are one interface', async (t, lab) => {
  await twoTaps(lab)
  const { note } = await finds(t, lab, {
    ...{ code: 'SAME_NETDEV', severity: 'warning', status: 0 },
    message: /both ends are one interface: the guest of tapA gets frames twice/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapA', '--out-netdev=tapA'] },
  })
  t.regex(note ?? '', /--queue=rx/)
})

labTest('out_netdev leads back to the bridge of in_netdev', async (t, lab) => {
  await twoTaps(lab)
  await cable(lab, 'vethA', 'vethZ')
  await lab.ask('bridge', { name: 'br0', ports: ['tapA', 'vethZ'] })
  for (const outNetdev of ['br0', 'vethA']) {
    await finds(t, lab, {
      ...{ code: 'COMES_BACK', severity: 'warning', status: 0 },
      message: /reaches the bridge that tapA is a port of: the guest of tapA gets frames twice/,
      healthy: {},
      faulty: { args: ['--in-netdev=tapA', `--out-netdev=${outNetdev}`] },
    })
  }
})
