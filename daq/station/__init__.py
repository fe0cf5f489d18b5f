"""From the instruments to the road: reads them, keeps and sends what was read, reports the state of the station."""
