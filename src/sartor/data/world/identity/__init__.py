"""People that do not exist, and pictures of them of which everything is known: genes, outfit, camera, place, day.

world = IdentityWorld(seed=0)
shots = world.shots(np.arange(150), each=8)     what 1,200 pictures show
world.render(shots)                             uint8 [1200, 64, 32, 3]
world.people(np.arange(150))                    genes
clips(world, np.arange(100), 50)                several people in front of one camera, frame by frame
"""

from sartor.data.world.identity.cameras import CAMERAS, DOMAINS, HEIGHT, WIDTH
from sartor.data.world.identity.clips import Clips, clips
from sartor.data.world.identity.figures import IdentityWorld, Shots, dressed
from sartor.data.world.identity.people import AGEING, BODY, LOOKS, People

__all__ = ["AGEING", "BODY", "CAMERAS", "DOMAINS", "HEIGHT", "LOOKS", "WIDTH", "Clips", "IdentityWorld", "People", "Shots", "clips", "dressed"]
